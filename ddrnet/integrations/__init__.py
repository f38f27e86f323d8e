"""Classes of other libraries around the models of this one; each module needs its library."""
