#!lua flags=allow-oom
-- steer | keys: ticks calls answers | edges: none
--
-- Pauses schedules, lets them go on, or has their next tick skipped.
-- ARGV: now, token of the call, order (pause, resume, skip), then the schedules' names (at most 100)
-- Reply: a letter per schedule: O done, S it was so before
-- Sending the call again changes nothing more and answers the same.

local now, token, order = clock(ARGV[1]), ARGV[2], ARGV[3]
local before = redis.call('HGET', answers, token)
if before then return before end
local names = {}
for i = 4, #ARGV do names[#names + 1] = ARGV[i] end
local raw = redis.call('HMGET', ticks, unpack(names))
local letters, changed = {}, {}
for i, name in ipairs(names) do
  local r = read_ticked(raw[i])
  if r.seen == 0 then r.last, r.seen = now, now end
  local paused, skip = r.flags % 2, r.flags - r.flags % 2
  if order == 'skip' then skip = 2 else paused = order == 'pause' and 1 or 0 end
  letters[i] = r.flags == skip + paused and 'S' or 'O'
  if letters[i] == 'O' then
    r.flags = skip + paused
    changed[#changed + 1] = name
    changed[#changed + 1] = pack_ticked(r)
  end
end
send('HSET', ticks, changed)
local answer = table.concat(letters)
if #changed > 0 then remember(calls, answers, token, now, answer) end
return answer
