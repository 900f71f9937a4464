"""nbgrader in an instructor's server: the whole exchange, and a course folder in the home folder."""

c = get_config()  # noqa: F821  traitlets provides it

c.CourseDirectory.course_id = "attention"
c.CourseDirectory.root = "/home/jovyan/course"
c.Exchange.root = "/srv/nbgrader/volume/exchange"
# No kernel has this name: autograding here would run students' code unboxed, beside everybody's work.
c.Execute.kernel_name = "grade-on-the-grading-host"
