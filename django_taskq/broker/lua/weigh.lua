#!lua flags=allow-oom
-- weigh | keys: jobs live errors results reports ready running scheduled retrying waiting succeeded dead cancelled parked claims asks locks entered gated counts events | edges: none
--
-- How much memory the keys take that grow with the jobs, judged by a few members of each.
-- ARGV: members to look at (at most 100)
-- Reply: name and bytes in turn, 0 for a key that is not there

local reply = {}
for name, key in pairs({ jobs = jobs, live = live, errors = errors, results = results, reports = reports,
  ready = ready, running = running, scheduled = scheduled, retrying = retrying, waiting = waiting,
  succeeded = succeeded, dead = dead, cancelled = cancelled, parked = parked, claims = claims,
  asks = asks, locks = locks, entered = entered, gated = gated, counts = counts,
  events = events }) do
  reply[#reply + 1] = name
  reply[#reply + 1] = redis.call('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[1]) or 0
end
return reply
