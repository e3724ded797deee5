"""Whole classifiers made at random, certified, and searched for an image that contradicts the certificate."""
