#!lua flags=allow-oom
-- limit | keys: ready waiting wake timer asks limits gated entered rates opens calls answers events | edges: waiting->ready
--
-- Gives a limit other numbers than those of the code, or those again, and lets in who finds room by
-- them. Many gates may go by one limit: all are looked at in order of their names, and where a call
-- comes to its bounds it says where to go on. A call that goes on writes no numbers: if they are others
-- by now, somebody gave them since, and it stops.
-- ARGV: now, token of the call, limit, its numbers (packed as in an ask; "": those of the code), gate
--   to go on at ("": the first), for how many that one still has room (-1: it says itself)
-- Reply: a letter (O done, S it was so before, U no job ever asked for this limit), how many were let
--   in, for how many the next gate still has room (-1: it says itself) and its name (none: that was all)
-- Sending the call again changes nothing more and answers the same.

local now, token, limit, numbers = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local before = redis.call('HGET', answers, token)
if before then return before end
local MOST_GATES, MOST_JOBS = 100, 500
local known = redis.call('HGET', limits, limit)
if not known then return 'U 0 0 ' end
local wanted = numbers .. string.sub(known, -NUMBERS)
local letter = known == wanted and 'S' or 'O'
if letter == 'O' and ARGV[5] ~= '' then return 'S 0 0 ' end
if letter == 'O' then redis.call('HSET', limits, limit, wanted) end

-- Lets in whom there is room for; for how many there would be more. What is in line already has to
-- find the gate open when it is claimed, as always, so that too many do no harm.
local moved = 0
local function let_in(gate, room)
  repeat
    local count = open_gate(gate, math.min(room, MOST_JOBS - moved), now)
    moved, room = moved + count, room - count
  until count == 0 or room == 0 or moved == MOST_JOBS
  return gate.first and room or 0
end

local cursor, room = '-', tonumber(ARGV[6])
if ARGV[5] ~= '' then cursor = '[' .. ARGV[5] .. '\0' end
local left, next_gate = 0, ''
for looked = 0, MOST_GATES do
  local first = redis.call('ZRANGE', gated, cursor, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not first then break end
  local name = string.match(first, '^%Z*')
  if looked == MOST_GATES or moved == MOST_JOBS then
    left, next_gate = -1, name
    break
  end
  local id = gated_id(name, first)
  if limit_of(name, id) == limit then
    see_gates(asks_of({ id }), now)
    local gate = seen_gates[name]
    if name ~= ARGV[5] or room < 0 then room = math.min(room_of(gate, now), 1000000) end
    left = let_in(gate, room)
    if left > 0 and moved == MOST_JOBS then
      next_gate = name
      break
    end
    left = 0
  end
  cursor = '(' .. name .. '\1'
end
local answer = string.format('%s %d %d ', letter, moved, left) .. next_gate
remember(calls, answers, token, now, answer)
return answer
