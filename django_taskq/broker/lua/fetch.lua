#!lua flags=allow-oom
-- fetch | keys: jobs live errors results reports ready running scheduled retrying waiting succeeded dead cancelled | edges: none
--
-- Reads jobs whole, each as it is at one moment.
-- ARGV: the ids (at most 100)
-- Reply: per job: state ("" unknown), its score there, envelope, live, errors, value, report

local ids = ARGV
local sets = { ready = ready, running = running, scheduled = scheduled, retrying = retrying,
  waiting = waiting, succeeded = succeeded, dead = dead, cancelled = cancelled }
local states, scores = {}, {}
for state, set in pairs(sets) do
  for i, score in ipairs(redis.call('ZMSCORE', set, unpack(ids))) do
    if score then states[i], scores[i] = state, score end
    if score and set == running then scores[i] = math.floor(score / TICKS) end
  end
end
local parts = {}
for _, key in ipairs({ jobs, live, errors, results, reports }) do
  parts[#parts + 1] = redis.call('HMGET', key, unpack(ids))
end
local reply = {}
for i = 1, #ids do
  reply[i] = { states[i] or '', scores[i] or '', parts[1][i] or '', parts[2][i] or '',
    parts[3][i] or '', parts[4][i] or '', parts[5][i] or '' }
end
return reply
