"""Those who judge and are not people. They are labelers like any other, with a kind that says what they are."""
