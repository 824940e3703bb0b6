"""What a converter says about a model that it cannot take over."""


class NotConvertible(Exception):
    """A part of a model has no exact counterpart in a FlowSpec.

    `where` names the part as an attribute path of the model ("transform.transforms[2].hyper"), `why` what there is
    about it and, where there is something, what to do.
    """

    def __init__(self, where, why):
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why
