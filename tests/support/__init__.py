"""What several test modules share: small models, small plans, real runs."""
