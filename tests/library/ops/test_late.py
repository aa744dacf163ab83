"""Tables whose gradient is computed last: values and gradients of the plain operators, in another order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dti_sprites.models.heads import StackedHeads
from dti_sprites.ops.late import LateTable


@pytest.mark.parametrize("shape", [(5, 3, 7, 4), (5, 1, 3, 5), (1, 2, 2, 2), (4,), (0, 3, 2)])
@pytest.mark.parametrize("n", [0, 1, 6])
def test_rows_are_those_of_plain_indexing(shape, n):
    torch.manual_seed(0)
    table = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    index = torch.randint(max(shape[0], 1), (n if shape[0] else 0,))
    rows = LateTable(table).rows(index)
    torch.testing.assert_close(rows, table[index])
    seed = torch.randn_like(rows)
    (gradient,) = torch.autograd.grad((rows * seed).sum(), table)
    (expected,) = torch.autograd.grad((table[index] * seed).sum(), table)
    torch.testing.assert_close(gradient, expected)


def test_table_that_is_not_contiguous_nor_a_leaf_and_is_used_twice():
    torch.manual_seed(0)
    leaf = torch.randn(6, 5, 4, dtype=torch.float64, requires_grad=True)

    def loss(late: bool) -> Tensor:
        table = leaf.sin().transpose(0, 2)  # 4, 5, 6
        first, second = torch.tensor([3, 1, 1]), torch.tensor([0, 3])
        if late:
            handle = LateTable(table)
            a, b = handle.rows(first), handle.rows(second)
        else:
            a, b = table[first], table[second]
        return a.square().sum() + (b * b.cos()).sum()

    (gradient,) = torch.autograd.grad(loss(True), leaf)
    (expected,) = torch.autograd.grad(loss(False), leaf)
    torch.testing.assert_close(gradient, expected)


def test_second_backward_pass_adds_the_same_gradient_again():
    table = torch.randn(3, 2, requires_grad=True)
    loss = LateTable(table).rows(torch.tensor([2, 2])).square().sum()
    loss.backward(retain_graph=True)
    once = table.grad.clone()
    loss.backward()
    torch.testing.assert_close(table.grad, 2 * once)


def test_what_a_pass_for_something_else_leaves_does_not_count():
    table, other = torch.randn(3, 2, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    handle = LateTable(table)
    a, b = handle.rows(torch.tensor([2, 0])), handle.rows(torch.tensor([1, 0]))
    torch.autograd.grad((a * other).sum(), other, retain_graph=True)
    (a.sum(0) * other[0]).sum().backward(retain_graph=True, inputs=[other])
    b.sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


def test_table_without_gradient_gives_rows_without():
    table = torch.randn(3, 2)
    assert not LateTable(table).rows(torch.tensor([1])).requires_grad
    table.requires_grad_()
    with torch.no_grad():
        assert not LateTable(table).rows(torch.tensor([1])).requires_grad
    assert table.grad is None
    assert not LateTable(table).values.requires_grad


def test_table_that_is_not_used_has_no_gradient():
    table, other = torch.randn(3, 2, requires_grad=True), torch.randn(2, requires_grad=True)
    LateTable(table)
    other.square().sum().backward()
    assert table.grad is None


def test_gradients_of_tables_and_heads_come_after_those_of_the_encoder():
    """They are used after it, so that in the usual order theirs would come first."""
    encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))
    heads = StackedHeads(3, 6, 2, hidden=5)
    table = nn.Parameter(torch.randn(3, 2))
    done: list[str] = []
    named = {"encoder": list(encoder.parameters()), "heads": list(heads.parameters()), "table": [table]}
    for name, parameters in named.items():
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: done.append(name))
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_()
    x, index = torch.randn(7, 4), torch.tensor([0, 2, 2, 1, 0, 0, 1])

    def backward(late: bool) -> list[str]:
        done.clear()
        rows, predict = LateTable(table), heads.late()
        features = encoder(x)
        if not late:
            rows, predict = LateTable(table), heads
        (rows.rows(index) * predict(features)[index, torch.arange(7)]).sum().backward()
        return list(done)

    early = backward(False)
    gradients = {parameter: parameter.grad.clone() for group in named.values() for parameter in group}
    for parameter in gradients:
        parameter.grad = None
    assert backward(True)[:4] == ["encoder"] * 4
    assert early[-4:] == ["encoder"] * 4
    assert len(done) == len(early) == len(gradients)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)


@pytest.mark.parametrize("batch", [0, 1, 4])
@pytest.mark.parametrize("n_hidden", [0, 2])
def test_heads_against_numerical_gradients(n_hidden, batch):
    torch.manual_seed(0)
    heads = StackedHeads(2, 3, 2, hidden=4, n_hidden=n_hidden).double()
    parameters = [nn.init.normal_(parameter).detach().requires_grad_() for parameter in heads.parameters()]
    names = [name for name, _ in heads.named_parameters()]

    def call(features: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(heads, dict(zip(names, values, strict=True)), features)

    features = torch.randn(batch, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(call, (features, *parameters))
    assert torch.autograd.gradcheck(call, (features.detach(), *parameters))  # an encoder that is not learnt
    fixed = [parameter.detach() for parameter in parameters]
    assert batch == 0 or torch.autograd.gradcheck(call, (features, *fixed))
