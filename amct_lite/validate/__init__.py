"""Whether an exported model may be handed out: its shapes, and what it computes."""
