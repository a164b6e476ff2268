//! `klserver up`.
