"""Offers, sessions, mutual unavailability, traffic light and clearing of the local and the global market."""
