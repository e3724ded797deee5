"""What every certificate passes on its way out."""
