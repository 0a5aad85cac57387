#!lua flags=allow-oom
-- peek | keys: jobs live ready running scheduled retrying waiting succeeded dead cancelled | edges: none
--
-- Reads what is needed to do something to jobs: where each is, and the beginning of what it carries.
-- ARGV: bytes of an envelope to answer, then the ids (at most 100)
-- Reply: per job: state ("" unknown), its score there, envelope (cut), its whole length, live

local head = tonumber(ARGV[1])
local ids = { unpack(ARGV, 2) }
local sets = { ready = ready, running = running, scheduled = scheduled, retrying = retrying,
  waiting = waiting, succeeded = succeeded, dead = dead, cancelled = cancelled }
local states, scores = {}, {}
for state, set in pairs(sets) do
  for i, score in ipairs(redis.call('ZMSCORE', set, unpack(ids))) do
    if score then states[i], scores[i] = state, score end
  end
end
local records = redis.call('HMGET', live, unpack(ids))
local reply = {}
for i, id in ipairs(ids) do
  local envelope = redis.call('HGET', jobs, id) or ''
  reply[i] = { states[i] or '', scores[i] or '', string.sub(envelope, 1, head), #envelope,
    records[i] or '' }
end
return reply
