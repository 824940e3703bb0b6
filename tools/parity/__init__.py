"""Turns models of zuko, nflows and normflows into model versions of densityd, exactly."""
