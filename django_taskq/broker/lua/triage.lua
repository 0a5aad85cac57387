#!lua flags=allow-oom
-- triage | keys: verdicts | edges: none
--
-- Puts down what somebody decided about the failures of a group. What is over is dropped, and the
-- oldest where there would be too many.
-- ARGV: now, the group, the token of the verdict that was seen ("": none), a token of this call (22
--   characters), ms for which the verdict stands (0: for good), what it says
-- Reply: O done, C somebody decided otherwise since that was seen
-- Sending the call again changes nothing more.

local MOST, HEAD = 1000, 38 -- verdicts; bytes of when, until when, token
local now, group, seen, token, lasts = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

-- When it was, and whether it is over. One that is too short is none.
local function read(raw)
  if #raw < HEAD then return 0, true end
  local at, until_ms = struct.unpack('>I8I8', raw)
  return at, until_ms > 0 and until_ms <= now
end

local old = redis.call('HGET', verdicts, group)
local last = old and string.sub(old, 17, HEAD) or ''
if last == token then return 'O' end
local is_over = old and select(2, read(old))
if last ~= seen and not (is_over and seen == '') then return 'C' end

local all = redis.call('HRANDFIELD', verdicts, MOST, 'WITHVALUES') -- all of them
local gone, kept, oldest, first = {}, 0, nil, math.huge
for i = 1, #all, 2 do
  if all[i] ~= group then
    local at, over = read(all[i + 1])
    if over then
      gone[#gone + 1] = all[i]
    else
      kept = kept + 1
      if at < first then oldest, first = all[i], at end
    end
  end
end
if kept >= MOST then gone[#gone + 1] = oldest end
send('HDEL', verdicts, gone)
local until_ms = lasts > 0 and now + lasts or 0
redis.call('HSET', verdicts, group, struct.pack('>I8I8', now, until_ms) .. token .. ARGV[6])
return 'O'
