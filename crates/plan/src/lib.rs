//! From the customer's wish to a blueprint, with a reason for each choice.
