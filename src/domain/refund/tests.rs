//! What a refund gives back, and its life.
