"""The time of a training step beside that of its encoder alone, and beside a plain reference."""
