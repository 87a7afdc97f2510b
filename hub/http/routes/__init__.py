"""The routes: inference, administration, feedback, explanation, pages."""
