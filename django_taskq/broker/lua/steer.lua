#!lua flags=allow-oom
-- steer | keys: ticks pauses calls answers | edges: none
--
-- Pauses schedules, lets them go on, or has their next tick skipped.
-- ARGV: now, token of the call, order (pause, resume, skip), of a pause: ms after which it ends by
--   itself (0: not) and a note (who, why: opaque), then the schedules' names (at most 100)
-- Reply: a letter per schedule: O done, S it was so before
-- Sending the call again changes nothing more and answers the same.

local now, token, order = clock(ARGV[1]), ARGV[2], ARGV[3]
local length, words = tonumber(ARGV[4]), ARGV[5]
local before = redis.call('HGET', answers, token)
if before then return before end
local names = {}
for i = 6, #ARGV do names[#names + 1] = ARGV[i] end
local raw = redis.call('HMGET', ticks, unpack(names))
local letters, changed, said, ended = {}, {}, {}, {}
for i, name in ipairs(names) do
  local r = read_ticked(raw[i])
  if r.seen == 0 then r.last, r.seen = now, now end
  local pause = pause_of(r, name, now)
  local paused, skip = r.flags % 2, r.flags - r.flags % 2
  local is_so = true
  if order == 'skip' then
    skip = 2
  elseif order == 'pause' then
    is_so = length == 0 and string.sub(pause, struct.size(PAUSE) + 1) == words
      and (pause == '' or struct.unpack(PAUSE, pause) == 0)
    paused = 1
  else
    paused = 0
  end
  letters[i] = is_so and r.flags == skip + paused and 'S' or 'O'
  if letters[i] == 'O' then
    r.flags = skip + paused
    changed[#changed + 1] = name
    changed[#changed + 1] = pack_ticked(r)
    if order == 'pause' then
      said[#said + 1] = name
      said[#said + 1] = pack_pause(r, length > 0 and now + length or 0, now, words)
    elseif paused == 0 then
      ended[#ended + 1] = name
    end
  end
end
send('HSET', ticks, changed)
send('HSET', pauses, said)
send('HDEL', pauses, ended)
local answer = table.concat(letters)
if #changed > 0 then remember(calls, answers, token, now, answer) end
return answer
