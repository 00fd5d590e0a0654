//! The hub over real TLS.
