"""The module path at which AMCT's users find the base class of their evaluators."""
