#!lua flags=allow-oom
-- types | keys: jobs live errors results reports ready running scheduled retrying waiting succeeded dead cancelled parked cancels holders claims wake timer calls answers asks locks lapses limits entered gated rates opens turns ticks tick_log pauses bulks tallies counting counts meta events listeners | edges: none
--
-- What the keys are, for whoever wonders why a script fails at one: no other script says it.
-- ARGV: none
-- Reply: name and type in turn, "none" for a key that is not there

local reply = {}
for name, key in pairs({ jobs = jobs, live = live, errors = errors, results = results, reports = reports,
  ready = ready, running = running, scheduled = scheduled, retrying = retrying, waiting = waiting,
  succeeded = succeeded, dead = dead, cancelled = cancelled, parked = parked, cancels = cancels,
  holders = holders, claims = claims, wake = wake, timer = timer, calls = calls,
  answers = answers, asks = asks, locks = locks, lapses = lapses, limits = limits, entered = entered,
  gated = gated, rates = rates, opens = opens, turns = turns, ticks = ticks,
  tick_log = tick_log, pauses = pauses, bulks = bulks, tallies = tallies,
  counting = counting, counts = counts, events = events, listeners = listeners,
  meta = meta }) do
  reply[#reply + 1] = name
  reply[#reply + 1] = redis.call('TYPE', key).ok
end
return reply
