"""The wheel, the sdist, the .deb and the .rpm."""
