//! The only place that talks to the TLS library.
