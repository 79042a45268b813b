"""Sample data in, statistics out: readers, bypass nodes, the run, and the file that keeps its sketches."""
