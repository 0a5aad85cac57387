#!lua flags=allow-oom
-- survey | keys: jobs live errors results ready running scheduled retrying waiting succeeded dead cancelled parked cancels holders claims wake timer meta | edges: none
--
-- What an operator sees of a queue at one moment, however large it is.
-- ARGV: now
-- Reply: now, then names and numbers in turn (a state's jobs, an entry's count), then "meta" and a
--   list of fields and values, "next" and the ready job that goes next with its envelope

local now = clock(ARGV[1])
local reply = { now }
local function say(name, value)
  reply[#reply + 1] = name
  reply[#reply + 1] = value
end

for name, set in pairs({ ready = ready, running = running, scheduled = scheduled,
  retrying = retrying, waiting = waiting, succeeded = succeeded, dead = dead,
  cancelled = cancelled, parked = parked, holders = holders }) do
  say(name, redis.call('ZCARD', set))
end
for name, key in pairs({ jobs = jobs, live = live, errors = errors, results = results, claims = claims }) do
  say(name, redis.call('HLEN', key))
end
say('cancels', redis.call('SCARD', cancels))
say('wake', redis.call('LLEN', wake))
say('timer', redis.call('LLEN', timer))
say('lapsed', redis.call('ZCOUNT', holders, '-inf', now))

for _, set in ipairs({ scheduled, retrying }) do
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[2] and tonumber(head[2]) < now then say('overdue', now - tonumber(head[2])) end
end
say('meta', redis.call('HMGET', meta, 'paused', 'keeper', 'keeper_until', 'renewed', 'reap_after',
  'trimmed', 'quarantined'))
local first = redis.call('ZRANGE', ready, 0, 0)[1]
if first then say('next', { first, redis.call('HGET', jobs, first) or '' }) end
return reply
