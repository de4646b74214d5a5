"""Side-by-side measurements: ``make bench``. The product never imports this package."""
