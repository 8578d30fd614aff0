//! Each event acts once.
