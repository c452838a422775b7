"""What is given of users' items and what is asked for."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.inputs.support_query import SupportQuerySampler

ITEMS = [[0, 2, 3, 5], [], [1, 2, 4]]
TIMES = np.array([30.0, 10.0, 40.0, 20.0, 2.0, 3.0, 1.0])  # of user 0: items 2, 5, 0, 3; of user 2: 4, 1, 2


def episodes_of(times=TIMES):
    dense = np.zeros((3, 6), dtype=np.float32)
    for user, items in enumerate(ITEMS):
        dense[user, items] = 1
    return SupportQuerySampler(sp.csr_array(dense), times, 0)


def support_query(share, order, new_users, users=(2, 0, 1), times=TIMES):
    users = torch.tensor(users)
    drawn = torch.full((len(users),), share), torch.tensor(order)
    return episodes_of(times)(users, torch.full((len(users),), new_users), drawn)


def test_the_users_items_stand_one_users_after_anothers():
    found = support_query(0.5, [0.9] * 7, False)
    assert found.rows.tolist() == [0] * 3 + [1] * 4 and found.items.tolist() == ITEMS[2] + ITEMS[0]
    assert found.places.tolist() == [4, 5, 6, 0, 1, 2, 3] and not found.given.any()
    assert episodes_of().size(torch.tensor([2, 0, 1])) == 7


def test_of_a_known_user_any_items_are_given():
    """A share of 0.8 squared: those whose draw is below 0.64."""
    found = support_query(0.8, [0.1, 0.7, 0.63, 0.65, 0.0, 0.9, 0.5], False)
    assert found.given.tolist() == [True, False, True, False, True, False, True]


@pytest.mark.parametrize(
    "share, given", [(0.45, set()), (0.6, {2, 4}), (0.75, {2, 5, 4}), (0.999, {2, 5, 0, 4, 1})]
)
def test_of_a_newcomer_the_first_items_are_given(share, given):
    """At most as many as the share of the user's 4 and 3 items, never all of them."""
    found = support_query(share, [0.5] * 7, True)
    assert set(found.items[found.given].tolist()) == given


def test_without_times_newcomers_bring_any_items():
    draws = [0.1, 0.7, 0.63, 0.65, 0.0, 0.9, 0.5]
    assert torch.equal(
        support_query(0.8, draws, True, times=None).given, support_query(0.8, draws, False).given
    )
