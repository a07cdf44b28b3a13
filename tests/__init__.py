from tests import typechecker as typechecker  # where jaxtyping looks for it
