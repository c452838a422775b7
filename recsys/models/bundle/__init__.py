"""The bundle task: which items complete a bundle. Bundles stand in the users' place."""
