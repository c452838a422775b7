"""The bridge to the models of an installed RecBole."""
