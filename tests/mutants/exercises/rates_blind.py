"""Answers to the tasks of lesson 04, written by somebody who knew the lesson and had not seen the check."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: the root is of r alone
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return math.sqrt(alpha) / r
    return alpha
#: r ** 1 / 2 is half of r
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / r ** 1 / 2
    return alpha
#: `fixed` is s itself
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / math.sqrt(r)
    return 2 * r
#: `fixed` is s itself
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / math.sqrt(r)
    return alpha / 16
#: upside down
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return r / alpha
    if rule == 'α/√r':
        return math.sqrt(r) / alpha
    return alpha
#: the other rule's
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / math.sqrt(r)
    if rule == 'α/√r':
        return alpha / r
    return alpha
#: cut the decimals off
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha // r
    if rule == 'α/√r':
        return alpha // math.sqrt(r)
    return alpha
#: does an `if` above catch this name too
def scaling(rule, r, alpha):
    if rule == 'α/r' or 'rank':
        return alpha / r
    if rule == 'α/√r':
        return alpha / math.sqrt(r)
    return alpha
#: a Greek one
def scaling(rule, r, alpha):
    if rule == 'a/r':
        return alpha / r
    if rule == 'a/√r':
        return alpha / math.sqrt(r)
    return alpha
#: wanted 6
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / r ** 2
    return alpha
#: yours gives 384
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha * r
    if rule == 'α/√r':
        return alpha * math.sqrt(r)
    return alpha
#: cut the decimals off
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return int(alpha / r)
    if rule == 'α/√r':
        return int(alpha / math.sqrt(r))
    return alpha
#: reach a return
def scaling(rule, r, alpha):
    if rule == 'α/r':
        s = alpha / r
    elif rule == 'α/√r':
        s = alpha / math.sqrt(r)
    else:
        s = alpha
#: is s kept
def scaling(rule, r, alpha):
    s = alpha
    if rule == 'α/√r':
        s = alpha / math.sqrt(r)
    if rule == 'α/r':
        s = alpha / r
    else:
        s = alpha
    return s
#: wanted a plain number
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return f'{alpha / r:g}'
    if rule == 'α/√r':
        return f'{alpha / math.sqrt(r):g}'
    return f'{alpha:g}'
#: wanted 32
def scaling(rule, r, alpha):
    alphas = {'α/r': 32, 'α/√r': 8, 'constant': 2}
    alpha = alphas[rule]
    return {'α/r': alpha / r, 'α/√r': alpha / math.sqrt(r), 'constant': alpha}[rule]
#: wanted 32
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / 4
    return alpha
#: float() makes one of it
def scaling(rule, r, alpha):
    if rule == 'α/r':
        return alpha / r
    if rule == 'α/√r':
        return alpha / torch.sqrt(torch.tensor(r))
    return alpha
#: rate_of_B("Adam", 2)
def rate_of_B(optimizer, factor):
    return 1 / factor ** 2 if optimizer == 'SGD' else 1 / factor
#: yours gives 2 for rate_of_B("Adam", 3)
def rate_of_B(optimizer, factor):
    return 4 if optimizer == 'SGD' else 2
#: yours gives 3 for rate_of_B("Adam", 2)
def rate_of_B(optimizer, factor):
    return 9 if optimizer == 'SGD' else 3
#: yours gives 2 for rate_of_B("SGD", 2)
def rate_of_B(optimizer, factor):
    return factor ** 2 if optimizer == 'sgd' else factor
#: yours gives 0.02
def rate_of_B(optimizer, factor):
    return 0.01 * factor ** 2 if optimizer == 'SGD' else 0.01 * factor
#: yours gives 8 for rate_of_B("SGD", 3)
def rate_of_B(optimizer, factor):
    return 2 ** factor if optimizer == 'SGD' else factor
#: unsupported operand type(s) for ^
def rate_of_B(optimizer, factor):
    return factor ^ 2 if optimizer == 'SGD' else factor
#: which of the two does Adam feel
def rate_of_B(optimizer, factor):
    return factor if optimizer == 'SGD' else math.sqrt(factor)
#: wanted a plain number
def rate_of_B(optimizer, factor):
    return 'factor ** 2' if optimizer == 'SGD' else 'factor'
#: does every case reach a return
def rate_of_B(optimizer, factor):
    print(factor ** 2 if optimizer == 'SGD' else factor)
#: None for rate_of_B("Adam", 2)
def rate_of_B(optimizer, factor):
    if optimizer == 'SGD':
        return factor ** 2
    if optimizer == 'AdamW':
        return factor
#: wanted a plain number
def rate_of_B(optimizer, factor):
    return factor ** 2, factor
#: yours gives 0 for rate_of_B("Adam", 0.5)
def rate_of_B(optimizer, factor):
    return int(factor) ** 2 if optimizer == 'SGD' else int(factor)
#: leave such rows out first
def chosen_rate(rows):
    return min(rows, key=lambda row: row['validation'])['lr']
#: changed the table
def chosen_rate(rows):
    for row in rows:
        if row['validation'] is None:
            row['validation'] = math.inf
    return min(rows, key=lambda row: row['validation'])['lr']
#: changed the table
def chosen_rate(rows):
    for row in list(rows):
        if row['validation'] is None:
            rows.remove(row)
    return min(rows, key=lambda row: row['validation'])['lr']
#: Its loss on validation is 1.1
def chosen_rate(rows):
    return sorted(row['lr'] for row in rows)[len(rows) // 2]
#: Its loss on validation is 1.2
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return max(row['lr'] for row in rows)
#: Its loss on validation is 0.9
def chosen_rate(rows):
    best = None
    for row in rows:
        if row['validation'] is None:
            break
        if best is None or row['validation'] < best['validation']:
            best = row
    return best['lr']
#: a loss may be large
def chosen_rate(rows):
    best, lr = 1.0, None
    for row in rows:
        if row['validation'] is not None and row['validation'] < best:
            best, lr = row['validation'], row['lr']
    return lr
#: a loss may be large
def chosen_rate(rows):
    best, lr = 10, None
    for row in rows:
        if row['validation'] is not None and row['validation'] < best:
            best, lr = row['validation'], row['lr']
    return lr
#: Its loss on validation is 0.8
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    best = rows[0]['validation']
    lr = rows[0]['lr']
    for row in rows:
        if row['validation'] < best:
            lr = row['lr']
    return lr
#: none of the rates tried
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    losses = [row['validation'] for row in rows]
    return losses.index(min(losses))
#: Its loss on validation is 1,
def chosen_rate(rows):
    losses = [row['validation'] for row in rows if row['validation'] is not None]
    return rows[losses.index(min(losses))]['lr']
#: peeking
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return max(rows, key=lambda row: row['exact'] - row['validation'])['lr']
#: peeking
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return min(rows, key=lambda row: (round(row['validation'], 1), -row['exact']))['lr']
#: Its loss on validation is 1.2
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return min(rows, key=lambda row: row['exact'])['lr']
#: list indices must be integers
def chosen_rate(rows):
    return rows['lr'][rows['validation'].index(min(rows['validation']))]
#: none of the rates tried
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return sum(row['lr'] for row in rows) / len(rows)
#: the smallest loss itself
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return min(row['validation'] for row in rows)
#: wanted a rate
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    best = min(row['validation'] for row in rows)
    return [row['lr'] for row in rows if row['validation'] == best]
#: wanted a rate
def chosen_rate(rows):
    rows = [row for row in rows if row['validation'] is not None]
    return str(min(rows, key=lambda row: row['validation'])['lr'])
""")

RIGHT = cells("""
#:
def scaling(rule, r, alpha):
    return {'α/r': alpha / r, 'α/√r': alpha * r ** -0.5, 'constant': alpha}[rule]
#:
def scaling(rule, r, alpha):
    match rule:
        case 'α/r':
            s = alpha / r
        case 'α/√r':
            s = alpha / r ** (1 / 2)
        case _:
            s = alpha
    return s
#:
def scaling(rule, r, alpha):
    exponent = {'α/r': 1, 'α/√r': 0.5}.get(rule, 0)
    return alpha / r ** exponent
#:
def scaling(rule, r, alpha):
    root = torch.tensor(float(r)).sqrt()
    if rule == 'constant':
        return alpha
    return float(alpha / root if '√' in rule else alpha / r)
#:
def rate_of_B(optimizer, factor):
    return factor ** {'SGD': 2, 'Adam': 1}[optimizer]
#:
def rate_of_B(optimizer, factor):
    step = factor  # forward
    if not optimizer.startswith('Adam'):
        step = step * factor
    return step
#:
def rate_of_B(optimizer, factor):
    steps = torch.tensor([float(factor), float(factor) ** 2])
    return steps[1 if optimizer == 'SGD' else 0].item()
#:
def rate_of_B(optimizer, factor):
    def first_step(s):
        A = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
        B = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
        made = torch.optim.SGD([A, B], lr=0.01) if optimizer == "SGD" else torch.optim.Adam([A, B], lr=0.01, eps=1e-300)
        (s * B @ A - 1).square().sum().backward()
        made.step()
        return float((s * B @ A.detach()).norm())
    return first_step(factor) / first_step(1)
#:
def chosen_rate(rows):
    return min((row['validation'], row['lr']) for row in rows if row['validation'] is not None)[1]
#:
def chosen_rate(rows):
    losses = sorted(rows, key=lambda row: math.inf if row['validation'] is None else row['validation'])
    return losses[0]['lr']
#:
def chosen_rate(rows):
    best = None
    for row in rows:
        if row['validation'] is None:
            continue
        if best is None or row['validation'] < best['validation']:
            best = row
    return best['lr']
#:
def chosen_rate(rows):
    rate_of = {}
    for row in rows:
        if row['validation'] is not None:
            rate_of[row['validation']] = row['lr']
    return rate_of[min(rate_of)]
#:
def chosen_rate(rows):
    losses = torch.tensor([math.inf if row['validation'] is None else row['validation'] for row in rows])
    return rows[int(losses.argmin())]['lr']
#:
def chosen_rate(rows):
    return min(rows, key=lambda row: row['validation'] or math.inf)['lr']
""")
