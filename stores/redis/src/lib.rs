//! A Redis store for sessions of tower-reauth that many processes and hosts share.
