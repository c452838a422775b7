"""A multimodal recommender engine: graphs, hypergraphs and content, honest warm and cold-start rankings."""

__version__ = "0.1.0"
