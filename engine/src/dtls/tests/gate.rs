//! What gets past the gate.
