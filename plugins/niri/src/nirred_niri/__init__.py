"""Gemini NIRI imaging."""
