"""The moving average of weights, by hand."""

from torch import nn

from recsys.encoders.moving_average import MovingAverage


def model_of(value):
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(value)
    return model


def test_the_average_of_three_steps_by_hand():
    model = model_of(1.0)
    average = MovingAverage(model, 0.75)
    for value in (2.0, 4.0, 8.0):
        model.weight.data.fill_(value)
        average.update(model)
    # 2, then 3/4 2 + 1/4 4 = 5/2, then 3/4 5/2 + 1/4 8 = 31/8
    assert average.values(model)["weight"].item() == 31 / 8
    average.place(model, averaged=True)
    assert model.weight.item() == 31 / 8 == average.values(model)["weight"].item()
    average.place(model, averaged=True)
    average.place(model, averaged=False)
    assert model.weight.item() == 8.0 and average.values(model)["weight"].item() == 31 / 8


def test_without_a_step_or_once_forgotten_the_weights_stay():
    model = model_of(3.0)
    average = MovingAverage(model, 0.5)
    average.place(model, averaged=True)
    assert model.weight.item() == 3.0
    average.update(model)
    model.weight.data.fill_(5.0)
    average.forget()
    average.place(model, averaged=True)
    assert model.weight.item() == 5.0 and average.values(model)["weight"].item() == 5.0


def test_it_goes_on_from_where_it_was_saved():
    model, other = model_of(2.0), model_of(6.0)
    average, resumed = MovingAverage(model, 0.5), MovingAverage(other, 0.5)
    average.update(model)
    resumed.load_state_dict(average.state_dict())
    resumed.update(other)
    assert resumed.values(other)["weight"].item() == 4.0
