//! The life of purchases, step by step, and whatever happens at any of them.
