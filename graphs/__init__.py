"""Graph and hypergraph builders over scipy CSR, and the sparse product that torch differentiates."""
