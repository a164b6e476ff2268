//! How a URL becomes the expressions that are asked about.
