#!lua flags=allow-oom
-- rota | keys: ready turns | edges: none
--
-- What an operator sees of those who take turns: how many rounds each key's last job is behind the
-- head of the line, at most: of two keys at one place nobody knows which was served.
-- ARGV: how many keys to look at, any of them where there are more; how many to name
-- Reply: per key its name and its rounds over all priorities, those with the most first; how many keys
--   have some, how many names were looked at, and how many there are

local EPSILON = 1e-6 -- thirds that add up to a whole
local heads = {}

-- Where the line is, also if a job that waited at a gate is back in its old place; false: there is none.
local function head(priority)
  if heads[priority] == nil then
    local first = first_in(ready, priority)
    heads[priority] = first and math.max(first, served_of(turns, priority) or 0) or false
  end
  return heads[priority]
end

local found = redis.call('HRANDFIELD', turns, tonumber(ARGV[1]), 'WITHVALUES')
local left, names = {}, {}
for i = 1, #found, 2 do
  local priority, key = string.match(found[i], '^(%-?%d+):(.+)$')
  local last = key and tonumber(found[i + 1])
  local at = last and head(tonumber(priority))
  if at and last > at - EPSILON then
    if not left[key] then names[#names + 1] = key end
    left[key] = (left[key] or 0) + math.max(math.ceil(last - math.ceil(at) + 1 - EPSILON), 1)
  end
end
table.sort(names, function(one, other)
  return left[one] > left[other] or left[one] == left[other] and one < other
end)
local shares = {}
for i = 1, math.min(#names, tonumber(ARGV[2])) do
  shares[#shares + 1] = names[i]
  shares[#shares + 1] = left[names[i]]
end
return { shares, #names, #found / 2, redis.call('HLEN', turns) }
