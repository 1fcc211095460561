"""What several processes know together: small values only, never a picture, never a prompt."""
