"""The kinds of actions: one module for each kind or family. The registry imports every module of this folder."""
