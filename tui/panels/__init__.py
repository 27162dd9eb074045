"""The panels of the app, one widget in each file. A panel draws the frame that its `show` method gets."""
