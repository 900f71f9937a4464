"""nbgrader in a student's server: one course, handed out and in through the volume of `values.yaml`."""

c = get_config()  # noqa: F821  traitlets provides it

c.CourseDirectory.course_id = "attention"
c.Exchange.root = "/srv/nbgrader/exchange"
