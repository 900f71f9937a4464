/* The icons come from the web font. This empty file stands in for the theme's SVG loader (1.5 MB). */
