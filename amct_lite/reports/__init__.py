"""What a run tells its user: gathered as plain values, written as JSON, printed by the command line."""
