"""Jobs J = (models, methods, input, options): kept in SQLite, carried out by processes that may die.

Source: Kaiser, "Token attribution visualisation" (TUM 2025), formula 3 and A.5.
"""
